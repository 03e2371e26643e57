# What cmake --install brings: the program, and the library with its headers for other projects.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/pagoda)
install(TARGETS pagoda_sdk EXPORT pagodaTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/pagoda DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT library)
install(EXPORT pagodaTargets NAMESPACE pagoda:: DESTINATION ${package} COMPONENT library)
configure_package_config_file(
  ${PROJECT_SOURCE_DIR}/cmake/pagodaConfig.cmake.in ${PROJECT_BINARY_DIR}/pagodaConfig.cmake INSTALL_DESTINATION ${package})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/pagodaConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/pagodaConfig.cmake ${PROJECT_BINARY_DIR}/pagodaConfigVersion.cmake DESTINATION ${package} COMPONENT library)
file(RELATIVE_PATH pc_include /p/${CMAKE_INSTALL_LIBDIR}/pkgconfig /p/${CMAKE_INSTALL_INCLUDEDIR})
configure_file(${PROJECT_SOURCE_DIR}/cmake/pagoda.pc.in ${PROJECT_BINARY_DIR}/pagoda.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/pagoda.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT library)

if(TARGET pagoda)
  install(TARGETS pagoda RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program)
  if(TARGET pagoda_mpi)
    install(TARGETS pagoda_mpi LIBRARY DESTINATION lib/pagoda COMPONENT program)  # where the program looks (src/comm/mpi_loader.cc)
  endif()
  # The manual and completions, which the program writes itself.
  foreach(entry
      "man|${CMAKE_INSTALL_MANDIR}/man1/pagoda.1"
      "completion bash|${CMAKE_INSTALL_DATADIR}/bash-completion/completions/pagoda"
      "completion zsh|${CMAKE_INSTALL_DATADIR}/zsh/site-functions/_pagoda"
      "completion fish|${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d/pagoda.fish")
    string(REPLACE "|" ";" entry "${entry}")
    list(GET entry 0 verb)
    list(GET entry 1 path)
    string(REPLACE " " "\" \"" verb "${verb}")
    cmake_path(GET path PARENT_PATH folder)
    set(made ${PROJECT_BINARY_DIR}/share/${path})
    cmake_path(GET made PARENT_PATH made_folder)
    file(MAKE_DIRECTORY ${made_folder})
    install(CODE "execute_process(COMMAND \"$<TARGET_FILE:pagoda>\" \"${verb}\" OUTPUT_FILE \"${made}\" COMMAND_ERROR_IS_FATAL ANY)"
      COMPONENT program)
    install(FILES ${made} DESTINATION ${folder} COMPONENT program)
  endforeach()
endif()
